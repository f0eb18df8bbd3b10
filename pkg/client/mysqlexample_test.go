package client_test

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// A store in MySQL alone, as LangGraph-Go's has it: no NATS, no persistd. All but the constructor stays the same when they come.
func ExampleNewMySQLStore() {
	st, err := client.NewMySQLStore[state](os.Getenv("MYSQL_DSN"), client.WithPool(client.Pool{MaxOpen: 50, MaxLifetime: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = st.Close() }()

	ctx := context.Background()
	if err := st.SaveStep(ctx, "run-001", 3, "fetch", state{N: 3}); err != nil {
		log.Fatal(err)
	}
	if stats := st.Stats(); stats.WaitCount > 0 {
		log.Printf("%d calls had to wait for a connection", stats.WaitCount)
	}
}
