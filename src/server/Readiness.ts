/**
 * Which listeners there should be, and which of them accept connections at this moment.
 *
 * It belongs to the scope above the listeners, so that it can tell of one that is down.
 */
export class Readiness {
  private readonly ports = new Map<string, number>()

  constructor(
    /** What people call them, in the order in which they are shown. */
    readonly listeners: readonly string[]
  ) {}

  accepts(listener: string, port: number): void {
    this.ports.set(listener, port)
  }

  stops(listener: string): void {
    this.ports.delete(listener)
  }

  /** The port on which it accepts; undefined while it does not. */
  portOf(listener: string): number | undefined {
    return this.ports.get(listener)
  }

  /** Those that do not accept; empty when everything is ready. */
  missing(): string[] {
    return this.listeners.filter((listener) => !this.ports.has(listener))
  }
}
