"""The names that Azure ML's SDK (azureml-core 1.61) has: an error can tell what isn't here yet from a slip.

Names only, public ones: its modules by package, what is in those modules that this package has too (first what is
theirs, then what they have of other modules, which scripts import from there), and the attributes of the classes.
"""

_MODULES = {
    "azureml": """
        core data exceptions mlflow widgets
    """,
    "azureml.core": """
        authentication compute compute_target conda_dependencies container_registry databricks dataset datastore
        environment experiment image keyvault linked_service model private_endpoint profile resource_configuration
        run runconfig script_run script_run_config util webservice workspace
    """,
    "azureml.core.compute": """
        adla aks amlcompute batch compute computeinstance databricks datafactory dsvm hdinsight kubernetescompute
        kusto remote synapse
    """,
    "azureml.core.image": """
        container image unknown_image
    """,
    "azureml.core.webservice": """
        aci aks container_resource_requirements local unknown_webservice webservice
    """,
    "azureml.data": """
        abstract_dataset abstract_datastore azure_data_lake_datastore azure_my_sql_datastore
        azure_postgre_sql_datastore azure_sql_database_datastore azure_storage_datastore constants context_managers
        data_reference datacache datacache_client datacache_consumption_config datacache_singularity_settings
        datapath dataset_action_run dataset_consumption_config dataset_definition dataset_error_handling
        dataset_factory dataset_profile dataset_profile_run dataset_profile_run_config dataset_snapshot
        dataset_type_definitions datastore_client dbfs_datastore file_dataset hdfs_datastore output_dataset_config
        sql_data_reference stored_procedure_parameter tabular_dataset
    """,
    "azureml.mlflow": """
        deploy entry_point_loaders
    """,
    "azureml.mlflow.deploy": """
        deployment_client
    """,
}
_NAMES = {
    "azureml": """
        automl contrib core data datadrift dataprep exceptions explain fsspec interpret mlflow opendatasets pipeline
        responsibleai tensorboard train widgets
    """,
    "azureml.core": """
        ComputeTarget ContainerRegistry Dataset Datastore Environment Experiment Image Keyvault LinkedService Model
        PrivateEndPoint PrivateEndPointConfig Run RunConfiguration ScriptRun ScriptRunConfig
        SynapseWorkspaceLinkedServiceConfiguration VERSION Webservice Workspace attach_legacy_compute_target
        diagnostic_log get_run is_compute_target_prepared prepare_compute_target remove_legacy_compute_target
    """,
    "azureml.core.authentication": """
        AbstractAuthentication AccessToken ArmTokenAuthentication Audience AzureCliAuthentication
        AzureMLTokenAuthentication InteractiveLoginAuthentication MsiAuthentication ServicePrincipalAuthentication
        TokenAuthentication
        AuthenticationException AzureMLException RunEnvironmentException UserErrorException
    """,
    "azureml.core.compute": """
        AdlaCompute AksCompute AmlCompute BatchCompute ComputeInstance ComputeTarget DataFactoryCompute
        DatabricksCompute DsvmCompute HDInsightCompute KubernetesCompute KustoCompute RemoteCompute SynapseCompute
    """,
    "azureml.core.compute_target": """
        AbstractComputeTarget ComputeTargetException LocalTarget
    """,
    "azureml.core.conda_dependencies": """
        CondaDependencies
        UserErrorException
    """,
    "azureml.core.environment": """
        DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE DockerBuildContext DockerEnvironment DockerImageDetails
        DockerImagePlatform DockerSection Environment EnvironmentReference ImageBuildDetails PythonEnvironment
        PythonSection RCranPackage RGitHubPackage RSection SparkEnvironment SparkPackage SparkSection
        AzureMLException CondaDependencies ContainerRegistry DatabricksSection UserErrorException
    """,
    "azureml.core.experiment": """
        Experiment ViewType
        UserErrorException
    """,
    "azureml.core.model": """
        InferenceConfig Model ModelPackage
        AksCompute ContainerRegistry Dataset DatasetSnapshot Environment Experiment FileDataset ModelNotFoundException
        ModelProfile ResourceConfiguration RunEnvironmentException TabularDataset UserErrorException WebserviceException
    """,
    "azureml.core.run": """
        InputDatasets LinkOutput OutputDatasets Run get_run
        ActivityFailedException Datastore Environment ExperimentExecutionException Keyvault RunEnvironmentException
        SnapshotException UserErrorException
    """,
    "azureml.core.runconfig": """
        AmlComputeConfiguration ApplicationEndpointConfiguration Data DataLocation DataReferenceConfiguration
        DatacacheConfiguration DatasetRegistrationOptions DockerConfiguration GlobsOptions HdiConfiguration
        HistoryConfiguration KubernetesComputeConfiguration MPI_CPU_IMAGE MPI_GPU_IMAGE MountOptions MpiConfiguration
        OutputData OutputOptions ParallelTaskConfiguration PyTorchConfiguration RegistrationOptions RunConfiguration
        SUPPORTED_DATAREF_MODES SUPPORTED_DELIVERY_MECHANISM SUPPORTED_PYTORCH_BACKENDS SparkConfiguration
        TensorflowConfiguration UploadOptions
        AbstractComputeTarget AzureContainerRegistry ComputeTarget CondaDependencies ContainerRegistry
        DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE DataPath DatabricksCluster DatabricksEnvironment DatabricksSection
        DatacacheConsumptionConfig Dataset DatasetConsumptionConfig DockerEnvironment DockerSection EggLibrary
        Environment EnvironmentDefinition JarLibrary MavenLibrary PyPiLibrary PythonEnvironment PythonSection
        RCranLibrary Run RunConfigurationException SparkEnvironment SparkSection Uri UserErrorException
    """,
    "azureml.core.script_run": """
        ScriptRun
        AzureMLException Run RunConfiguration UserErrorException
    """,
    "azureml.core.script_run_config": """
        ScriptRunConfig get_run_config_from_script_run submit
        Data DataPath DatacacheConfiguration DatacacheConsumptionConfig DockerConfiguration EnvironmentDefinition
        MpiConfiguration PyTorchConfiguration RunConfiguration RunConfigurationException TensorflowConfiguration
        UserErrorException
    """,
    "azureml.core.workspace": """
        Workspace
        AmlCompute ComputeTarget Dataset Image InteractiveLoginAuthentication Keyvault LinkedService Model
        ProjectSystemException UserErrorException Webservice WorkspaceException
    """,
    "azureml.exceptions": """
        ActivityFailedException AuthenticationException AzureMLAggregatedException AzureMLException
        ComputeTargetException DatasetTimestampMissingError DiscoveryUrlNotFoundException
        ExperimentExecutionException ModelNotFoundException ModelPathNotFoundException ParallelRunException
        ProjectSystemException RunConfigurationException RunEnvironmentException ServiceException SnapshotException
        TrainingException UserErrorException WebserviceException WorkspaceException
        WorkspacePrivateEndpointException
    """,
    "azureml.mlflow": """
        get_mlflow_tracking_uri get_mlflow_tracking_uri_v2 get_portal_url register_model
    """,
    "azureml.widgets": "RunDetails",
}
_ATTRIBUTES = {
    "Workspace": """
        DEFAULT_CPU_CLUSTER_CONFIGURATION DEFAULT_CPU_CLUSTER_NAME DEFAULT_GPU_CLUSTER_CONFIGURATION
        DEFAULT_GPU_CLUSTER_NAME add_private_endpoint compute_targets create datasets datastores delete
        delete_connection delete_private_endpoint_connection diagnose_workspace discovery_url environments
        experiments from_config get get_connection get_default_compute_target get_default_datastore
        get_default_keyvault get_details get_mlflow_tracking_uri get_run images linked_services list
        list_connections list_keys location models name private_endpoints resource_group service_context
        set_connection set_default_datastore setup sku subscription_id sync_keys tags update update_dependencies
        webservices write_config
    """,
    "Experiment": """
        archive archived_time delete from_directory get_docs_url get_portal_url get_runs id identity list name
        portal_url reactivate refresh remove_tags set_tags start_logging submit tag tags workspace workspace_object
    """,
    "Run": """
        add_properties add_type_provider cancel child_run clean complete create_children description display_name
        download_file download_files experiment fail flush get get_all_logs get_children get_context
        get_detailed_status get_details get_details_with_logs get_docs_url get_environment get_file_names
        get_metrics get_portal_url get_properties get_secret get_secrets get_snapshot_id get_status
        get_submitted_run get_tags id identity list list_by_compute log log_accuracy_table log_confusion_matrix
        log_image log_list log_predictions log_residuals log_row log_table name number parent portal_url properties
        register_model remove_tags restore_snapshot set_tags start status submit_child tag tags take_snapshot type
        upload_file upload_files upload_folder wait_for_completion
    """,
    "Model": """
        Framework add_dataset_references add_properties add_tags created_by created_time datasets delete deploy
        description deserialize download experiment_name get_model_path get_sas_urls id list mime_type
        model_framework model_framework_version name package parent_id print_configuration profile properties
        register remove_tags resource_configuration run run_id sample_input_dataset sample_output_dataset serialize
        tags unpack update update_tags_properties url version workspace
    """,
    "Environment": """
        add_private_pip_wheel asset_id build build_local clone databricks docker environment_variables
        from_conda_specification from_docker_build_context from_docker_image from_dockerfile
        from_existing_conda_environment from_pip_requirements get get_image_details inferencing_stack_version label
        list load_from_directory name python r register save_to_directory spark version
    """,
    "PythonSection": """
        base_conda_environment conda_dependencies conda_dependencies_file interpreter_path user_managed_dependencies
    """,
    "DockerSection": """
        arguments base_dockerfile base_image base_image_registry build_context enabled gpu_support platform
        shared_volumes shm_size
    """,
    "RunConfiguration": """
        amlcompute arguments auto_cluster_compute_specification auto_prepare_environment command communicator
        credential_passthrough data data_references datacaches delete docker environment environment_variables
        framework hdi history kubernetescompute load max_run_duration_seconds mpi node_count output_data paralleltask
        priority pytorch save script services source_directory_data_store spark target tensorflow
    """,
    "ScriptRunConfig": """
        MAX_DURATION_SECONDS_DEFAULT arguments command run_config script source_directory
    """,
    "AmlComputeConfiguration": """
        vm_priority vm_size
    """,
    "CondaDependencies": """
        DEFAULT_NUMBER_OF_CONDA_PACKAGES DEFAULT_NUMBER_OF_PIP_PACKAGES add_channel add_cntk_package
        add_conda_package add_pip_package add_tensorflow_conda_package add_tensorflow_pip_package as_dict
        conda_channels conda_packages create get_default_number_of_packages get_python_version merge_requirements
        pip_options pip_packages remove_channel remove_conda_package remove_pip_option remove_pip_package save
        save_to_file sdk_origin_url serialize_to_string set_pip_index_url set_pip_option set_pip_requirements
        set_python_version
    """,
    "ComputeTarget": """
        attach create delete deserialize detach get get_status list name provisioning_state refresh_state serialize
        tags type wait_for_completion
    """,
    "AmlCompute": """
        add_identity get_active_runs get_status list_nodes provisioning_configuration remove_identity
        supported_vmsizes update
    """,
    "AbstractAuthentication": """
        get_authentication_header get_token signed_session
    """,
}

MODULES = frozenset(f"{package}.{name}" for package, names in _MODULES.items() for name in names.split())
"""The SDK's modules, such as `azureml.core.compute`."""

NAMES = {module: frozenset(names.split()) for module, names in _NAMES.items()}
"""What is in a module, such as `Dataset` in `azureml.core`."""

ATTRIBUTES = {name: frozenset(names.split()) for name, names in _ATTRIBUTES.items()}
"""The attributes and methods of a class, such as `datastores` of `Workspace`."""
