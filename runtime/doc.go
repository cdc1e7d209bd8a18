// Package runtime turns a cluster image and a list of hosts into a running
// cluster.
//
// A distribution's [Driver] describes, without any I/O, what has to be true on
// a host as a list of [Step] values. [Runtime] arranges the steps of all hosts
// into a [Plan]: a list of phases, each run on its hosts one after another or
// at once. One [Engine] carries a plan out: it runs the steps, prints them
// (a dry run is printing them), records each in the host's ledger before and
// after, skips what the ledger says was done already, and undoes the ledger at
// reset. So ordering, concurrency, retry and bookkeeping exist once, and a
// driver holds facts only.
package runtime
