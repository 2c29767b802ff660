/** `mimosa processes` */
import { request } from "node:http"
import { Effect } from "effect"
import { Supervisor } from "../actor/index.ts"
import { CliError } from "./CliError.ts"
import { unreachable } from "./Client.ts"
import { print } from "./print.ts"

export interface ProcessesOptions {
  readonly host: string
  readonly httpPort: number
  readonly json: boolean
}

export const processes = ({ host, httpPort, json }: ProcessesOptions): Effect.Effect<void, CliError> =>
  Effect.gen(function* () {
    const text = yield* get(host, httpPort, "/v1/processes")
    const tree = yield* Effect.try({
      try: () => JSON.parse(text) as Supervisor.TreeNode,
      catch: () => new CliError({ message: `what answers on ${host}:${httpPort} is no Mimosa; is that its HTTP port?` })
    })
    print(json ? tree : Supervisor.format(tree))
  })

const get = (host: string, port: number, path: string): Effect.Effect<string, CliError> =>
  Effect.async((resume) => {
    const fail = (message: string) => resume(new CliError({ message }))
    const asked = request({ host, port, path, timeout: timeoutMs }, (response) => {
      let body = ""
      response.setEncoding("utf8")
      response.on("data", (chunk) => {
        body += chunk
      })
      response.on("end", () =>
        response.statusCode === 200
          ? resume(Effect.succeed(body))
          : fail(`${host}:${port} answers ${path} with status ${response.statusCode}; is that a Mimosa's HTTP port?`)
      )
    })
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${timeoutMs / 1_000} seconds`)))
    asked.on("error", (error) => fail(unreachable({ host, port }, error, "http-port")))
    asked.end()
    return Effect.sync(() => asked.destroy())
  })

const timeoutMs = 10_000 // for a person who waits
