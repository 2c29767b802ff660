/** Ports for servers that tests start. */
import { createServer } from "node:net"

/**
 * A TCP port on which nobody listens on 127.0.0.1 at this moment. Another process may take it before you do:
 * a server of ours should listen on port 0 and tell; this is for those that cannot.
 */
export const free = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port)
        else reject(new Error("a TCP server has an address with a port"))
      })
    })
  })
