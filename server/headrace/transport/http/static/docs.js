// Shows the description of this server's endpoints, and tries calls from the page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
