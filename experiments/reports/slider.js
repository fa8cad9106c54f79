// Shows the samples of the step that a slider is at; without JavaScript those of the last step are there.
"use strict";
for (const slider of document.querySelectorAll(".steps")) {
  const { steps, frames } = JSON.parse(slider.querySelector("script").textContent);
  const images = [...slider.querySelectorAll("img")];
  const input = slider.querySelector("input"), output = slider.querySelector("output");
  images.forEach((image, k) => frames[k].push(image.src));
  const show = () => {
    images.forEach((image, k) => { image.src = frames[k][input.value]; });
    output.textContent = `step ${steps[input.value].toLocaleString("en")}`;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.max = steps.length - 1;
  input.value = input.max; // a browser that reloads the page would keep the old one
  input.addEventListener("input", show);
  show();
  slider.querySelector("label").hidden = false;
}
