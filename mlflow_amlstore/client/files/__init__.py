"""Files of a run over the network: listed at the service, sent to and from content URLs."""
