import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, type Scope } from "effect"

/** A real server on a free port of the loopback, which is the answer. Bodies are latin1. */
export const serve = (
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("latin1").on("data", (text) => {
          body += text
        })
        request.on("end", () => answer(request, response, body))
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      return server
    }),
    (server) =>
      Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            server.closeAllConnections()
            server.close(() => resolve())
          })
      )
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))
