package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// MyState is the state of a workflow.
type MyState struct {
	Message string `json:"message"`
}

// A store in MySQL makes its tables when it is opened, and is used like every other.
func ExampleNewMySQLStore_quickStart() {
	// Read DSN from environment (NEVER hardcode credentials!)
	dsn := os.Getenv("MYSQL_DSN")
	if dsn == "" {
		log.Fatal("MYSQL_DSN environment variable not set")
	}

	// Create MySQL store
	st, err := client.NewMySQLStore[MyState](dsn)
	if err != nil {
		log.Fatalf("Failed to create MySQL store: %v", err)
	}
	defer st.Close()

	ctx := context.Background()
	if err := st.SaveStep(ctx, "run-001", 1, "start", MyState{Message: "hello"}); err != nil {
		log.Print(err)
	}
}

// A health check asks the database, and how the connections are used.
func ExampleMySQLStore_Ping() {
	checkDatabaseHealth := func(st *client.MySQLStore[MyState]) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()

		if err := st.Ping(ctx); err != nil {
			return fmt.Errorf("database unhealthy: %w", err)
		}

		// Check pool stats
		stats := st.Stats()
		log.Printf("Open connections: %d/%d", stats.OpenConnections, stats.MaxOpenConnections)
		log.Printf("Idle connections: %d", stats.Idle)
		return nil
	}

	st, err := client.NewMySQLStore[MyState](os.Getenv("MYSQL_DSN"), client.WithPool(client.Pool{MaxOpen: 50, MaxIdle: 10}))
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	if err := checkDatabaseHealth(st); err != nil {
		log.Print(err)
	}
}

// Before there was a database, states were kept in memory: only the constructor changes.
func ExampleNewMySQLStore_migrationFromMemStore() {
	run := func(st client.Store[MyState]) error {
		return st.SaveStep(context.Background(), "run-001", 1, "start", MyState{})
	}

	// Before: In-memory storage
	if err := run(client.NewMemStore[MyState]()); err != nil {
		log.Fatal(err)
	}

	// After: MySQL storage
	dsn := os.Getenv("MYSQL_DSN")
	st, err := client.NewMySQLStore[MyState](dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()

	// Rest of the code remains the same!
	if err := run(st); err != nil {
		log.Print(err)
	}
}
