/** Why a port cannot be listened on, and what helps, in words for whoever starts a server: from Node's error. */
export const whyNotListening = (cause: unknown): string => {
  const { code = "" } = (cause ?? {}) as { readonly code?: string }
  return reasons[code] ?? String(cause)
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use; stop what listens there, or choose another port",
  EACCES: "the system does not allow it; ports from 1024 up need no privilege",
  EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is always there, 0.0.0.0 means all of them",
  ENOTFOUND: "the host name leads to no address"
}
