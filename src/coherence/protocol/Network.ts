/**
 * What an instance of the protocol needs of the world: a way out and a bell. Given by the driver above a transport, or
 * by a simulation. Neither call may answer within itself (`onFrame`, `onLinkUp`, `tick` come in a later call).
 */
export interface Network {
  /** To one direct link; dropped when there is none. The frame is the receiver's: it is not written to again. */
  send(to: number, frame: Uint8Array): void
  /** To every direct link. */
  broadcast(frame: Uint8Array): void
  /** `wantsLink` may answer differently from now on. */
  reconsider(): void
  /** `tick` wants to be called at this time (of the instance's clock), or as soon as possible when it has passed. */
  wake(atMs: number): void
}

/** Time since any beginning that never goes back, in ms. */
export interface Clock {
  nowMs(): number
}

/** Another instance, as a transport knows it. */
export interface Peer {
  readonly origin: number
  readonly region: number
}
