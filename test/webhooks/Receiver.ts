import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, type Scope } from "effect"

export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Receiver {
  readonly port: number
  readonly url: string
  readonly requests: ReadonlyArray<Received>
  /** The webhook ids of the requests so far, in order. */
  readonly ids: () => ReadonlyArray<string>
}

/** How the `n`th request is answered, from 0. Answering nothing leaves it open. */
export type Answer = (response: ServerResponse, n: number) => void

export const status =
  (...codes: ReadonlyArray<number>): Answer =>
  (response, n) => {
    response.writeHead(codes[Math.min(n, codes.length - 1)] as number).end("ok")
  }

/** A real HTTP server on a free port of the loopback, which writes down what it gets. */
export const receiver = (answer: Answer = status(200)): Effect.Effect<Receiver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const requests: Array<Received> = []
    const server = createServer((request, response) => {
      const { method = "", url = "", headers } = request
      let body = ""
      request.setEncoding("utf8").on("data", (text) => {
        body += text
      })
      request.on("end", () => answer(response, requests.push({ method, path: url, headers, body }) - 1))
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo
    return {
      port,
      url: `http://127.0.0.1:${port}/hook`,
      requests,
      ids: () => requests.map(({ headers }) => String(headers["webhook-id"]))
    }
  })

/** Lets real input and output go on until `isTrue`; a condition that never comes true ends in the test's time-out. */
export const until = (isTrue: () => boolean): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    let timer: NodeJS.Immediate
    const look = () => {
      if (isTrue()) resume(Effect.void)
      else timer = setImmediate(look)
    }
    look()
    return Effect.sync(() => clearImmediate(timer))
  })

/** Lets what is under way in this process and on its sockets come to rest, for saying that something did not happen. */
export const quiet: Effect.Effect<void> = Effect.suspend(() => {
  let turns = 0
  return until(() => ++turns > 200)
})
