package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/pkg/client"
)

// Agent is a workflow's state: whatever encoding/json takes.
type Agent struct {
	Question string   `json:"question"`
	Messages []string `json:"messages"`
}

// A worker saves each step of its run, and after a restart goes on where the run was.
func Example() {
	ctx := context.Background()
	st, err := client.Open[Agent](ctx, "nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Print(err)
		}
	}()

	agent, step, err := st.LoadLatest(ctx, "run-001")
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		log.Fatal(err)
	}
	agent.Messages = append(agent.Messages, "thinking")
	if err := st.SaveStep(ctx, "run-001", step+1, "think", agent); err != nil {
		log.Fatal(err)
	}
}

// Most steps need only be logged; one that triggers a payment may wait for MySQL.
func ExampleContextWithDurability() {
	ctx := context.Background()
	st, err := client.Open[Agent](ctx, "nats://127.0.0.1:4222", client.WithDurability(client.Logged))
	if err != nil {
		log.Fatal(err)
	}
	err = st.SaveStep(client.ContextWithDurability(ctx, client.Committed), "run-001", 7, "pay", Agent{})
	switch {
	case errors.Is(err, client.ErrNotCommitted):
		fmt.Println("safe in the log, in MySQL a little later")
	case errors.Is(err, client.ErrRejected):
		fmt.Println("MySQL refused it for good:", err)
	}
}

// Steps that may be lost with the process are the fastest; their errors come later.
func ExampleStore_flush() {
	ctx := context.Background()
	st, err := client.Open[Agent](ctx, "nats://127.0.0.1:4222", client.WithDurability(client.Async),
		client.WithErrorHandler(func(err error) { log.Print(err) }))
	if err != nil {
		log.Fatal(err)
	}
	for step := range 100 {
		if err := st.SaveStep(ctx, "run-001", step, "think", Agent{}); err != nil {
			log.Fatal(err) // nothing was queued
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := st.Flush(ctx); err != nil {
		log.Print(err)
	}
}

// Credentials and TLS are options of nats.go.
func ExampleWithNATSOptions() {
	st, err := client.Open[Agent](context.Background(), "tls://nats-1:4222,tls://nats-2:4222", client.WithNATSOptions(
		nats.UserCredentials("/etc/persistd/worker.creds"), nats.RootCAs("/etc/persistd/ca.pem")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Ping(context.Background()))
}
