// Package langgraphgo runs LangGraph-Go's engine on persistd: it makes its store.Store of a client.Store.
//
//	st, err := langgraphgo.Open[MyState](ctx, "nats://127.0.0.1:4222") // was: store.NewMySQLStore[MyState](dsn)
//	if err != nil { … }
//	defer st.Close()
//	engine := graph.New(reducer, st, emitter, graph.Options{MaxSteps: 100}) // as before
//
// [New] takes any client.Store instead: one in memory for tests, or one that writes to MySQL itself.
//
// # Errors
//
// A load that finds nothing returns store.ErrNotFound itself, so err == store.ErrNotFound holds. A V2 checkpoint whose idempotency key was used
// with other content is a graph.ErrIdempotencyViolation, which the engine takes for another's success. All other errors are the client's. The
// engine keeps no more than the text of a store's error, and in concurrent mode not even that; [StoreError] has the error.
//
// # Runs that start again
//
// The engine numbers the steps of every Run from 1 on. A run that starts again under its old id therefore begins to replace its own steps, and
// until it has caught up its highest step is one of the time before. Attempts make that right: [Store.BeginAttempt] before the run starts
// again, or [Store.Resume], which goes on with the next step's number instead of beginning anew.
//
//	             SaveStep 1 2 3 4 ✗ killed, or only thought to be
//	attempt 1 ──────────●─●─●─●───▶ step 5 of it, if it comes, is refused: client.ErrStaleAttempt
//	attempt 2 ───────────────────Resume──●─●─●──▶    5 6 7
package langgraphgo
