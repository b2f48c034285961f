// How a run's status looks.

const LOOKS = {
  Running: "running", Finalizing: "running", Starting: "running", Preparing: "running",
  NotStarted: "queued", Queued: "queued", CancelRequested: "canceled",
};

/** Makes `element` say a status, with one of five looks: running, queued, completed, failed or canceled. */
export function setStatus(element, status) {
  element.textContent = status;
  element.dataset.status = LOOKS[status] ?? status.toLowerCase();
}
