"use strict";
// The OpenAPI document as a page: each path with the fields of its body and their limits.
const LIMITS = ["default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "enum"];

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function told(field) {
  const kinds = (field.anyOf || [field]).filter((kind) => kind.type !== "null");
  const types = kinds.map((kind) => kind.$ref ? kind.$ref.split("/").pop() : kind.type || "value").join(" or ");
  const limits = [field, ...kinds, ...kinds.map((kind) => kind.items || {})].flatMap((kind) =>
    LIMITS.filter((name) => kind[name] !== undefined && kind[name] !== null).map((name) => `${name} ${kind[name]}`));
  return [types, ...new Set(limits)].join(", ") + (field.description ? `. ${field.description}` : "");
}

function section(path, method, what, schemas) {
  const part = element("section");
  part.append(element("h2", `${method.toUpperCase()} ${path}`));
  const body = what.requestBody?.content["application/json"]?.schema;
  if (!body) return part;
  const schema = schemas[body.$ref.split("/").pop()];
  if (schema.description) part.append(element("p", schema.description));
  const table = element("table");
  for (const [name, field] of Object.entries(schema.properties)) {
    const row = element("tr");
    row.append(element("th", name + ((schema.required || []).includes(name) ? " *" : "")), element("td", told(field)));
    table.append(row);
  }
  part.append(table);
  return part;
}

fetch("openapi.json").then((answer) => answer.json()).then((api) => {
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      document.getElementById("api").append(section(path, method, what, api.components.schemas));
    }
  }
});
