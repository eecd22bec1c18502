// Shows the description of this server's endpoints, and tries calls from the page. Where the server wants to know
// who asks, the page asks for a key first; it is kept in this page's memory only.
const form = document.getElementById("credentials");
const reason = document.getElementById("reason");

async function open(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch("openapi.json", { headers });
  if (!answer.ok) {
    const { error } = await answer.json();
    reason.textContent = error;
    form.hidden = false;
    return;
  }
  form.hidden = true;
  SwaggerUIBundle({
    spec: await answer.json(),
    dom_id: "#page",
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: (request) => {
      request.headers = { ...headers, ...request.headers };
      return request;
    },
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  open(document.getElementById("key").value.trim());
});

open("");
