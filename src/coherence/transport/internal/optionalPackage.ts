import { Effect } from "effect"
import { TransportError } from "../TransportError.ts"

/**
 * Loads a package that only those have who need it. Fails with what to install when it is not there, or when it is and
 * cannot be loaded.
 */
export const optionalPackage = <A>(
  transport: string,
  name: string,
  load: () => Promise<A>
): Effect.Effect<A, TransportError> =>
  Effect.tryPromise({
    try: load,
    catch: (cause) =>
      new TransportError({
        transport,
        reason: isMissing(cause)
          ? `the package ${name} is not installed, which this transport needs: npm install ${name}`
          : `the package ${name} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
        cause
      })
  })

const isMissing = (cause: unknown): boolean => {
  const code = (cause as { readonly code?: unknown } | undefined)?.code
  return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND"
}
