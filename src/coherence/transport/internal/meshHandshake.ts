/**
 * The handshake of two members over a socket that has just been connected (the messages: meshWire.ts).
 *
 * It is limited in time and in bytes, holds nothing for an end that does not prove itself but its socket, and answers
 * once: with the peer and what the two agreed on, or why there is none.
 */
import { randomBytes } from "node:crypto"
import type { Socket } from "node:net"
import type { TransportSelf } from "../Transport.ts"
import {
  Agreement,
  decodeHello,
  decodeRefusal,
  encodeHello,
  encodeProof,
  encodeRefusal,
  type Hello,
  messageKind,
  namespaceIdOf,
  type Refusal,
  type Role,
  readMessage
} from "./meshWire.ts"

export interface Shaken {
  readonly role: Role
  readonly theirs: Hello
  /** Of the connection, by whoever began it. */
  readonly dial: number
  readonly isProbe: boolean
  readonly agreement: Agreement
  /** What has come after the handshake. */
  readonly rest: Buffer
}

/** Why there is no peer: found by this end, or said by the other. `theirs` is what it has said, and did not prove. */
export type HandshakeFailure =
  | { readonly by: "us"; readonly reason: Refusal | "slow"; readonly theirs?: Hello }
  | { readonly by: "them"; readonly reason: Refusal | "closed" | "error"; readonly code?: string }

export interface HandshakeOptions {
  readonly self: TransportSelf
  readonly role: Role
  /** What this end says in its HELLO. */
  readonly address: string
  readonly dial: number
  readonly isProbe: boolean
  readonly timeoutMs: number
}

/**
 * Runs the handshake; the returned function gives it up, silently. After a failure the socket is on its way out; after
 * success it is paused and has no listeners of the handshake's.
 */
export const shakeHands = (
  socket: Socket,
  options: HandshakeOptions,
  onDone: (outcome: Shaken | HandshakeFailure) => void
): (() => void) => {
  const { self, role } = options
  const isDialer = role === "dialer"
  const other: Role = isDialer ? "acceptor" : "dialer"
  const ours = encodeHello({
    origin: self.origin,
    region: self.region,
    namespaceId: namespaceIdOf(self.namespace),
    isSecured: self.secret !== undefined,
    isProbe: options.isProbe,
    dial: options.dial,
    nonce: randomBytes(16),
    address: options.address
  })
  let pending: Buffer = Buffer.alloc(0)
  let theirs: Hello | null = null
  let agreement: Agreement | null = null

  const settle = (): void => {
    clearTimeout(timer)
    socket.off("data", onData)
    socket.off("error", onError)
    socket.off("close", onClose)
  }
  const fail = (failure: HandshakeFailure, isToSay: boolean): void => {
    settle()
    socket.on("error", ignore)
    if (isToSay && failure.by === "us" && failure.reason !== "slow") {
      socket.end(encodeRefusal(failure.reason))
      setTimeout(() => socket.destroy(), lingerMs).unref()
      socket.resume()
    } else socket.destroy()
    onDone(failure)
  }
  const refuse = (reason: Refusal, hello = theirs): void =>
    fail({ by: "us", reason, ...(hello === null ? {} : { theirs: hello }) }, reason !== "garbage")

  const onHello = (body: Buffer, message: Buffer): boolean => {
    const hello = decodeHello(body)
    if (typeof hello === "string") refuse(hello)
    else if (!hello.namespaceId.equals(namespaceIdOf(self.namespace))) refuse("namespace")
    else if (hello.isSecured !== (self.secret !== undefined)) refuse("secret", hello)
    else if (hello.origin === self.origin) refuse("self")
    else {
      theirs = hello
      agreement = isDialer ? new Agreement(self.secret, ours, message) : new Agreement(self.secret, message, ours)
      if (isDialer) socket.write(encodeProof(agreement.proof(role)))
      else socket.write(ours)
      return true
    }
    return false
  }
  const onProof = (proof: Buffer, agreed: Agreement): boolean => {
    if (!agreed.isProof(other, proof)) {
      refuse("secret")
      return false
    }
    if (!isDialer) socket.write(encodeProof(agreed.proof(role)))
    return true
  }
  /** False when the handshake is over, for good or not. */
  const onMessage = (kind: number, body: Buffer, message: Buffer): boolean => {
    if (kind === messageKind.refusal) {
      fail({ by: "them", reason: decodeRefusal(body) }, false)
      return false
    }
    if (theirs === null || agreement === null) {
      if (kind === messageKind.hello) return onHello(body, message)
      refuse("garbage")
      return false
    }
    if (kind !== messageKind.proof) {
      refuse("garbage")
      return false
    }
    if (!onProof(body, agreement)) return false
    settle()
    socket.pause()
    const begun = isDialer ? options : theirs
    onDone({ role, theirs, agreement, rest: pending, dial: begun.dial, isProbe: begun.isProbe })
    return false
  }
  const onData = (piece: Buffer): void => {
    pending = pending.length === 0 ? piece : Buffer.concat([pending, piece])
    for (let read = readMessage(pending); read !== null; read = readMessage(pending)) {
      if (read === "garbage") {
        refuse("garbage")
        return
      }
      const message = pending.subarray(0, read.length)
      pending = pending.subarray(read.length)
      if (!onMessage(read.kind, read.body, message)) return
    }
  }
  const onError = (error: NodeJS.ErrnoException): void =>
    fail({ by: "them", reason: "error", ...(error.code === undefined ? {} : { code: error.code }) }, false)
  const onClose = (): void => fail({ by: "them", reason: "closed" }, false)

  const timer = setTimeout(() => fail({ by: "us", reason: "slow" }, false), options.timeoutMs)
  socket.on("data", onData)
  socket.on("error", onError)
  socket.on("close", onClose)
  if (isDialer) socket.write(ours)
  return () => {
    settle()
    socket.on("error", ignore)
    socket.destroy()
  }
}

const ignore = (): void => {}

const lingerMs = 200 // for the other end to read why it was refused
