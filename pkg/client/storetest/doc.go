// Package storetest is what every [client.Store] must do, as tests: each sentence of its documentation is one at least. Whoever writes a
// store runs them over it:
//
//	func TestMyStore(t *testing.T) {
//		dsn := newDatabase(t)
//		storetest.Run(t, func(t *testing.T, s storetest.Settings) client.Store[storetest.State] {
//			st, err := mystore.Open[storetest.State](dsn, mystore.EventLease(s.EventLease), mystore.Attempt(s.Attempt))
//			require.NoError(t, err)
//			return st
//		})
//	}
//
// Each call of the function opens another store on the same data, as another worker does; at first it holds nothing, and nobody else
// uses it. The tests close what they opened. They ask for the store as [client.Store] describes it and for nothing more: where that
// lets an answer lag behind (a run in the list, an event in the outbox), they wait for it ([WithPatience]).
//
// A store that lacks a part runs the rest with go test -skip; the tests of a part are under its name: TestMyStore/Outbox/….
package storetest
