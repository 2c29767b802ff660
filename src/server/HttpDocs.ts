/** The HTTP API told: as an OpenAPI document, and as a page for people. Both are read off the routes. */

import { spellings } from "./EngineError.ts"
import type { Access, Route } from "./HttpRoute.ts"

/** Source: the OpenAPI Specification 3.1.0. */
export const openApi = (routes: readonly Route<never>[]): object => {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    const path = bracedPath(route)
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) }
  }
  return {
    openapi: "3.1.0",
    info: { title: "Mimosa", version: "1", description: "A cache that reacts when it is touched." },
    paths,
    components: {
      securitySchemes: {
        password: { type: "http", scheme: "basic", description: "The server's password, with any user." },
        token: { type: "http", scheme: "bearer", description: "A tenant's token, or the server's password." }
      },
      schemas: {
        Error: {
          type: "object",
          required: ["error"],
          properties: {
            error: { type: "string", description: "What is wrong, and what would be right." },
            code: { type: "string", enum: Object.keys(spellings) },
            script: { type: "string" },
            line: { type: "integer", description: "Of the script, from 1." },
            column: { type: "integer" },
            traceback: { type: "string" },
            retryAfterMs: { type: "number" }
          }
        }
      }
    }
  }
}

const operation = (route: Route<never>): object => ({
  operationId: operationId(route),
  summary: route.summary,
  parameters: [
    ...paramsOf(route).map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...Object.entries(route.query ?? {}).map(([name, description]) => ({
      ...{ name, in: "query", description },
      schema: { type: "string" }
    }))
  ],
  ...(route.body === undefined ? {} : { requestBody: requestBody(route.body) }),
  responses: {
    "200": { description: route.answers, content: { [route.type ?? "application/json"]: {} } },
    default: {
      description: "What is wrong.",
      content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } }
    }
  },
  security: securityOf(route.access)
})

const requestBody = ({ type, example, isOptional }: NonNullable<Route<never>["body"]>): object => ({
  required: isOptional !== true,
  content:
    type === "lua"
      ? { "text/x-lua": { schema: { type: "string" }, example }, "application/json": { example: { source: example } } }
      : { "application/json": { example: JSON.parse(example) } }
})

const securityOf = (access: Access): readonly object[] => {
  if (access === "everybody") return []
  return access === "operator" ? [{ password: [] }] : [{ password: [] }, { token: [] }]
}

const paramsOf = ({ path }: Route<never>): string[] => [...path.matchAll(/:(\w+)/g)].map(([, name]) => name as string)

const bracedPath = ({ path }: Route<never>): string => path.replace(/:(\w+)/g, "{$1}")

/** `putV1TenantsTenantScriptsName`. */
const operationId = ({ method, path }: Route<never>): string =>
  method.toLowerCase() + path.replace(/\W*(\w)(\w*)/g, (_, first: string, rest: string) => first.toUpperCase() + rest)

/** A page without scripts, and without anything from elsewhere. */
export const page = (routes: readonly Route<never>[]): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Mimosa: the HTTP API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
  h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 0 }
  p { margin: 0.25rem 0 } pre { background: #8881; padding: 0.5rem; overflow: auto } small { opacity: 0.7 }
</style>
<h1>Mimosa: the HTTP API</h1>
<p>The same as data: <a href="/v1/openapi.json">/v1/openapi.json</a>. Errors are JSON objects with an <code>error</code>,
  and where it is known a <code>code</code>, the <code>script</code> and its <code>line</code>.</p>
${routes.map(section).join("\n")}
</html>
`

const section = (route: Route<never>): string => {
  const { method, access, summary, query = {}, body, answers } = route
  const lines = [
    `<h2>${method} ${escaped(bracedPath(route))}</h2>`,
    `<p>${escaped(summary)} <small>${escaped(saidOf[access])}</small></p>`,
    ...Object.entries(query).map(([name, meaning]) => `<p><code>?${escaped(name)}=</code> ${escaped(meaning)}</p>`),
    ...(body === undefined ? [] : [`<pre>${escaped(body.example)}</pre>`]),
    `<p>Answers ${escaped(answers)}</p>`
  ]
  return lines.join("\n")
}

const saidOf: Readonly<Record<Access, string>> = {
  everybody: "For everybody.",
  known: "For operators and tenants.",
  tenant: "For operators, and for this tenant by its token.",
  operator: "For operators."
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
