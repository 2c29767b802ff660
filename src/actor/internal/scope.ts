/**
 * A process' scope, which costs nothing until somebody adds to it. Most processes hold no resource.
 */
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import { pipeArguments } from "effect/Pipeable"
import * as Scope from "effect/Scope"

export class ProcessScope implements Scope.CloseableScope {
  readonly [Scope.ScopeTypeId]: Scope.ScopeTypeId = Scope.ScopeTypeId
  readonly [Scope.CloseableScopeTypeId]: Scope.CloseableScopeTypeId = Scope.CloseableScopeTypeId
  get strategy(): ExecutionStrategy.ExecutionStrategy {
    return ExecutionStrategy.sequential
  }
  #scope: Scope.CloseableScope | null = null
  #isClosed = false

  /** Closes it if it is empty: what is added later is let go of at once. False when it has to be closed properly. */
  closeIfEmpty(): boolean {
    if (this.#scope !== null) return false
    this.#isClosed = true
    return true
  }

  fork(strategy: ExecutionStrategy.ExecutionStrategy): Effect.Effect<Scope.CloseableScope> {
    return Effect.suspend(() => Scope.fork(this.#made(), strategy))
  }

  addFinalizer(finalizer: Scope.Scope.Finalizer): Effect.Effect<void> {
    return Effect.suspend(() => Scope.addFinalizerExit(this.#made(), finalizer))
  }

  close(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => (this.closeIfEmpty() ? Effect.void : Scope.close(this.#made(), exit)))
  }

  pipe() {
    // biome-ignore lint/complexity/noArguments: how Effect's own Pipeable is implemented
    return pipeArguments(this, arguments)
  }

  /**
   * What `Effect.forkScoped` and `Effect.forkIn` look at, past the interface of a scope
   * (effect/internal/effect/circular.ts, forkIn).
   */
  get state(): unknown {
    return (this.#made() as unknown as { readonly state: unknown }).state
  }

  #made(): Scope.CloseableScope {
    this.#scope ??= makeScope(
      this.#isClosed ? { _tag: "Closed", exit: Exit.void } : { _tag: "Open", finalizers: new Map() }
    )
    return this.#scope
  }
}

/**
 * What `Scope.make` does, in plain code: there is no fiber to run it in where `state` is asked for
 * (effect/internal/fiberRuntime.ts).
 */
const makeScope = (state: object): Scope.CloseableScope =>
  Object.assign(Object.create(scopePrototype), { strategy: ExecutionStrategy.sequential, state })

const scopePrototype: object = Object.getPrototypeOf(Effect.runSync(Scope.make()))
