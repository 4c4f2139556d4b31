// The live page: what comes from the run goes to the parts of the page that show it.

import { offerCalibration, showRegistration } from "./alignment.js";
import { loadFiles, showStatus } from "./board.js";
import { clearCharts } from "./charts.js";
import { chooseView, tellView } from "./controls.js";
import { toast } from "./dom.js";
import { endDrawing } from "./drawing.js";
import { connect } from "./link.js";
import { page } from "./model.js";
import { forgetWaiting, receivePicture } from "./picture.js";
import { hold, registered } from "./points.js";
import { hearMeasured, showThermal, tellProbes } from "./warmth.js";

let version = null;

function hear(message) {
  if (message.type === "hello") {
    // A newer server brings a newer page.
    if (version !== null && version !== message.version) location.reload();
    version = message.version;
    page.shown = null;
    clearCharts();
    loadFiles();
  } else if (message.type === "status") {
    showStatus(message);
    showRegistration(message);
    showThermal(message);
  } else if (message.type === "measured") hearMeasured(message);
  else if (message.type === "event") {
    toast(message.text, message.kind === "refused" || message.kind === "warning");
    if (message.kind === "registration") registered();
    if (message.kind === "saved") offerCalibration(message.names);
    if (message.kind === "saved" || message.kind === "recording") setTimeout(loadFiles, 300);
  }
}

function closed() {
  forgetWaiting();
  endDrawing();
}

function opened() {
  tellView();
  tellProbes(true);
  hold();
}

chooseView(page.view);
connect({ opened, closed, hear, picture: receivePicture });
