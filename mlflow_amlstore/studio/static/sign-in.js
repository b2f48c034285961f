// Signing in with a workspace key, without a page of its own in between.

import { refusal } from "./answers.js";

const form = document.querySelector("form[data-sign-in]");
const banner = form.querySelector(".error-banner");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  banner.hidden = true;
  const address = new URL(form.dataset.signIn, document.baseURI); // this page may stand in place of any other
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ key: form.elements.key.value, to: form.elements.to.value || "/" }),
    });
    if (!response.ok) throw new Error(await refusal(response));
    location.assign(new URL((await response.json()).to, address));
  } catch (error) {
    banner.textContent = error.message;
    banner.hidden = false;
    form.elements.key.select();
  }
});
