/** Redis' globs, for the rooms above: the matcher itself is the kernel's. */
export { globMatches, isLiteral } from "../kernel/index.ts"
