// Stub: the views without a query.
export function start() {}
