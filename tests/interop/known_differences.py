"""What ours sends otherwise than Microsoft's client, for the same call of MLflow's, and why.

`test_requests.py` fails at a difference that isn't here, and at an entry that no longer matches any; `docs/parity.py`
shows them call by call.
"""

import re

EVERYWHERE = re.compile(r": headers: (user-agent|accept|x-mlflow-client-version|idempotency-key): ")

# What ours sends otherwise, and why: patterns of differences. One that no longer matches any is to be taken out.
KNOWN = {
    r": headers: user-agent: ": "each client has its name there",
    r": headers: accept: ": "azure's clients ask for JSON or XML; MLflow's, and ours, take what comes",
    r": headers: x-mlflow-client-version: ": "ours goes past MLflow's own client, and leaves it out",
    r": headers: idempotency-key: ": "ours sends a write again when the answer was lost",
    r": (body|query): [a-z_]+: .nothing., ours (null|\[\])$": "a field that isn't given, which JSON may have as null",
    r"logged-models/<model>: query: allow_deleted: .nothing., ours .false.$": "the default, spelled out",
    r"runs/search: sent by ours alone: .*amlstore_journal": "ours looks once for models from before the endpoints",
    r"logged-models/search: sent by ours alone": "ours asks once whether there are the endpoints",
    r"logged-models/search: body: max_results: .nothing., ours 100$": "the default, spelled out",
    r"get-run-data-status: not sent by ours": "ours has its own queue for asynchronous logging, over log-batch",
    r"log-batch-async: not sent by ours": "ours has its own queue for asynchronous logging, over log-batch",
    r"^log_batch_asynchronously: .*runs/log-batch: sent by ours alone": "ours has its own queue, over log-batch",
    r"/artifacts: query: path: .nothing., ours ": "ours lists what is under a path; theirs lists all, and looks there",
    r"PUT .*: headers: if-none-match: .\*., ours .nothing.$": "here a file may be written again",
    r"PUT .*: headers: x-amlstore-(sha256|offset): ": "ours has uploads checked, and blocks put where they belong",
    r"^log_large_artifact: PUT .*\(blocklist\): headers: content-md5": "ours has the block list checked",
    r"^log_large_artifact: GET .*\(blocklist\): sent by ours alone": "ours goes on with an upload that was broken off",
    r"^download_(large_|)artifact: GET .*: headers: if-match: ": "ours knows the ETag before the first range",
    r"^download_large_artifact: GET .*: times: ": "ours asks for larger ranges",
    r"^download_large_artifact: GET .*: not sent by ours": "theirs asks for the first range without an ETag",
    r"^download_empty_artifact: GET .*/empty: not sent by ours": "ours knows the size, and asks for nothing",
}
