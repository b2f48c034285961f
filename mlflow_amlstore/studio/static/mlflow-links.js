// Leads a link that MLflow printed to its page: what follows `#` never reaches the service.

const root = new URL(document.documentElement.dataset.root, location.href);
const [, experiment, run] = /^#\/?experiments\/([^/?]+)(?:\/runs\/([^/?]+))?/.exec(location.hash) ?? [];
const [, model] = /^#\/?models\/([^/?]+)/.exec(location.hash) ?? [];

function page() {
  if (run) return `runs/${run}`;
  if (experiment) return `experiments/${experiment}/runs`;
  return model ? `models/${model}` : "";
}

location.replace(new URL(page(), root));
