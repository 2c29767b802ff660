/**
 * Datagrams by which members on one host, or one network, find each other without being told anything.
 *
 * Each joins a multicast group on the loopback interface, and with a secret on the others too. Several processes bind
 * the one port (`reuseAddr`), and the system hands each datagram to all of them. Where multicast does not exist (most
 * cloud networks) nothing comes, and a DNS name or seeds are needed.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram"
import { networkInterfaces } from "node:os"

export interface BeaconOptions {
  readonly group: string
  readonly port: number
  /** Also on the interfaces that lead off this host. */
  readonly isOpen: boolean
  readonly onDatagram: (bytes: Buffer, from: RemoteInfo) => void
}

export class MeshBeacon {
  readonly #options: BeaconOptions
  readonly #sockets: Socket[] = []

  constructor(options: BeaconOptions) {
    this.#options = options
  }

  /** Opens what can be opened. Answers what could not, an error for each interface. */
  async open(): Promise<Error[]> {
    const errors: Error[] = []
    for (const address of interfaces(this.#options.isOpen)) {
      try {
        this.#sockets.push(await this.#join(address))
      } catch (error) {
        errors.push(error as Error)
      }
    }
    return errors
  }

  get isOpen(): boolean {
    return this.#sockets.length > 0
  }

  announce(datagram: Buffer): void {
    const { group, port } = this.#options
    for (const socket of this.#sockets) socket.send(datagram, port, group, ignore)
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.close()
  }

  #join(address: string): Promise<Socket> {
    const { group, port, onDatagram } = this.#options
    return new Promise((resolve, reject) => {
      const socket = createSocket({ type: "udp4", reuseAddr: true })
      const fail = (error: Error): void => {
        socket.close()
        reject(error)
      }
      socket.once("error", fail)
      socket.bind(port, () => {
        try {
          socket.addMembership(group, address)
          socket.setMulticastInterface(address)
          socket.setMulticastLoopback(true)
          socket.setMulticastTTL(1)
        } catch (error) {
          return fail(error as Error)
        }
        socket.off("error", fail)
        socket.on("error", ignore)
        socket.on("message", onDatagram)
        resolve(socket)
      })
    })
  }
}

const interfaces = (isOpen: boolean): string[] => {
  const others = isOpen
    ? Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .filter(({ family, internal }) => family === "IPv4" && !internal)
        .map(({ address }) => address)
    : []
  return ["127.0.0.1", ...others.slice(0, interfacesMax)]
}

const interfacesMax = 16 // container hosts have hundreds

const ignore = (): void => {}
