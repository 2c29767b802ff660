/** A connection to a server, for commands that talk to it. */
import { createClient, ErrorReply } from "@redis/client"
import { Effect, type Scope } from "effect"
import { CliError } from "./CliError.ts"

export interface Address {
  readonly host: string
  readonly port: number
}

/** What a server answers: text, whole numbers, nil, and lists of these. */
export type Reply = string | number | null | readonly Reply[]

/** Sends one command and waits for its answer. An error of the server fails with its words. */
export type Send = (...words: readonly string[]) => Effect.Effect<Reply, CliError>

/** Connects until the scope closes. Fails with how to start a server when there is none. */
export const connect = ({ host, port }: Address): Effect.Effect<Send, CliError, Scope.Scope> =>
  Effect.gen(function* () {
    const password = process.env.MIMOSA_PASSWORD
    const socket = { host, port, reconnectStrategy: false as const, connectTimeout: timeoutMs }
    const client = createClient({ RESP: 2, socket, ...(password && { password }) })
    client.on("error", () => {}) // every failure comes back from the call that met it
    const whatFailed = (error: unknown): CliError =>
      new CliError({
        message: error instanceof ErrorReply ? error.message.replace(/^ERR /, "") : unreachable({ host, port }, error)
      })
    yield* Effect.acquireRelease(Effect.tryPromise({ try: () => client.connect(), catch: whatFailed }), () =>
      Effect.sync(() => client.destroy())
    )
    return (...words) =>
      Effect.tryPromise({ try: () => client.sendCommand<Reply>([...words]), catch: whatFailed }).pipe(
        Effect.timeoutFail({
          duration: timeoutMs,
          onTimeout: () =>
            new CliError({ message: `${host}:${port} did not answer within ${timeoutMs / 1_000} seconds` })
        })
      )
  })

/** What to say when nobody answers there. */
export const unreachable = ({ host, port }: Address, error: unknown, option = "port"): string => {
  const { code, message } = error as NodeJS.ErrnoException
  return code === "ECONNREFUSED"
    ? `no server is on ${host}:${port}; start one with: mimosa serve --${option} ${port}`
    : `${host}:${port} cannot be reached: ${message}`
}

const timeoutMs = 10_000 // for a person who waits; registering a trigger writes a file and takes milliseconds
