/** One question to a server's HTTP port. */
import { request } from "node:http"
import { type Address, unreachable } from "./Address.ts"
import { CliError } from "./CliError.ts"

export interface HttpAddress extends Address {
  readonly password?: string | undefined
}

/** The body of the answer. Fails with one line where nobody answers, or not with 200. */
export const httpGet = (address: HttpAddress, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { host, port, password } = address
    const headers = password === undefined ? {} : { authorization: `Basic ${base64(`mimosa:${password}`)}` }
    const asked = request({ host, port, path, headers, agent: false, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("error", (error) => reject(unreachable(address, error, "http-port")))
      response.on("end", () =>
        response.statusCode === 200
          ? resolve(Buffer.concat(chunks).toString())
          : reject(new CliError(whatStatusMeans(address, path, response.statusCode ?? 0)))
      )
    })
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${timeoutMs / 1_000} seconds`)))
    asked.on("error", (error) => reject(unreachable(address, error, "http-port")))
    asked.end()
  })

const whatStatusMeans = ({ host, port, password }: HttpAddress, path: string, status: number): string => {
  if (status !== 401) return `${host}:${port} answers ${path} with status ${status}; is that a Mimosa's HTTP port?`
  return password === undefined
    ? `${host}:${port} asks for a password: --password or MIMOSA_PASSWORD`
    : `${host}:${port} has another password`
}

const base64 = (text: string): string => Buffer.from(text).toString("base64")

const timeoutMs = 10_000 // for a person who waits
