package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/persistd/persistd/pkg/client"
)

// versioned is a codec that brings states of an older version up to date as they are loaded: what was saved stays as it was.
type versioned struct{ client.JSON }

// Decode implements client.Codec.
func (c versioned) Decode(at client.Binding, data []byte, v any) error {
	if at.Kind == client.KindStep {
		var old struct {
			Version int    `json:"version"`
			Name    string `json:"name"` // of version 1; version 2 has a list
		}
		if err := json.Unmarshal(data, &old); err != nil {
			return err
		}
		if old.Version == 0 && old.Name != "" {
			data = fmt.Appendf(nil, `{"version":2,"names":[%q]}`, old.Name)
		}
	}
	return c.JSON.Decode(at, data, v)
}

// States outlive the programs that saved them: a codec is where older ones are brought up to date.
func ExampleWithCodec() {
	type state struct {
		Version int      `json:"version"`
		Names   []string `json:"names"`
	}
	ctx := context.Background()
	st := client.NewMemStore[any](client.WithCodec(versioned{}))
	defer func() { _ = st.Close() }()
	if err := st.SaveStep(ctx, "run-001", 1, "start", map[string]string{"name": "ada"}); err != nil { // by last year's program
		log.Fatal(err)
	}
	loaded, _, err := st.LoadLatest(ctx, "run-001")
	if err != nil {
		log.Fatal(err)
	}
	text, err := json.Marshal(loaded)
	if err != nil {
		log.Fatal(err)
	}
	var now state
	if err := json.Unmarshal(text, &now); err != nil {
		log.Fatal(err)
	}
	fmt.Println(now.Version, now.Names)
	// Output: 2 [ada]
}
