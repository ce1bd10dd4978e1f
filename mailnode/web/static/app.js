// Every request that htmx makes says what this page was given.
"use strict";
document.addEventListener("htmx:config:request", (event) => {
  const csrf = document.querySelector('meta[name="csrf"]');
  if (csrf) event.detail.ctx.request.headers["X-CSRF-Token"] = csrf.content;
});
