// Shows the OpenAPI document of this service. Calls made here go to this service; a token stays in the page's memory.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});

// What Swagger UI leaves without a name, for those who cannot see where it stands.
const NAMES = {
  "#servers": () => "Server",
  ".examples-select-element": () => "Example",
  ".body-param__text": () => "Body",
  ".content-type": () => "Media type",
  ".close-modal": () => "Close",
  ".parameters-col_description > select": (field) => field.closest("tr").dataset.paramName,
};

function mend() {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const field of document.querySelectorAll(`${selector}:not([aria-label])`)) {
      field.setAttribute("aria-label", name(field));
    }
  }
  // What scrolls can be reached by the keyboard.
  for (const text of document.querySelectorAll(".curl, .microlight")) text.tabIndex = 0;
  // A link within a button: the button does what the link does.
  for (const link of document.querySelectorAll(".opblock-summary-control a[href]")) link.removeAttribute("href");
}

new MutationObserver(mend).observe(document.querySelector("#reference"), { childList: true, subtree: true });
