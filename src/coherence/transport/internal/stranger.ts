/** What the log says of whoever speaks in a namespace and was not given the same secret. */
export const strangerText = (place: string, namespace: string): string =>
  `somebody ${place} uses the namespace ${namespace} with another secret, or one of the two has none`
