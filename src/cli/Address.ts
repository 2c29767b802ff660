/** Where a server is, and what to say when nobody answers there. */
import { CliError } from "./CliError.ts"

export interface Address {
  readonly host: string
  readonly port: number
}

/** Nobody answers there, or not any more; a server that comes back may. */
export class Unreachable extends CliError {}

/** `option` is the one that says where the server is: `port`, or `http-port`. */
export const unreachable = (
  { host, port }: Address,
  error: unknown,
  option: "port" | "http-port" = "port"
): Unreachable => {
  const { code, message } = error as NodeJS.ErrnoException
  const variable = option === "port" ? "MIMOSA_PORT" : "MIMOSA_HTTP_PORT"
  return new Unreachable(
    code === "ECONNREFUSED"
      ? `no server is on ${host}:${port}; start one with: mimosa serve --${option} ${port}, or say where it is: --${option} or ${variable}`
      : `${host}:${port} cannot be reached: ${message}`
  )
}
