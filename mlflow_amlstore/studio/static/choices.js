// Forms whose choices become one word of the address. `form[data-adds-chart]`: two columns that are chosen are one more
// chart of the page, `over=UP|ACROSS,…`. `form[data-draws-together]`: the metrics that are ticked, `together=A,B`.

/** Starts: all such forms of the page. */
export function start() {
  document.addEventListener("formdata", ({ target, formData }) => {
    if (target.matches("form[data-adds-chart]")) addChart(formData);
    if (target.matches("form[data-draws-together]")) drawTogether(formData);
  });
}

function addChart(formData) {
  const chart = ["up", "across"].map((name) => encodeURIComponent(formData.get(name))).join("|");
  formData.set("over", [chart, ...(formData.get("over") || "").split(",").filter((each) => each && each !== chart)].join(","));
  formData.delete("up");
  formData.delete("across");
}

function drawTogether(formData) {
  const metrics = formData.getAll("metric").map(encodeURIComponent).join(",");
  if (metrics) formData.set("together", metrics);
  formData.delete("metric");
}
