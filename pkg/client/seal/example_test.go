package seal_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/seal"
)

// Patient is a state that is nobody's business.
type Patient struct {
	Name string `json:"name"`
}

// The keyset comes from a secret of the deployment; what a worker saves is readable only by who has it.
func ExampleNew() {
	const fromSecret = `
2025-06:4IpCWO9h1xCVqXlpoOjuH1bTDsqdh6zBWbcTMSmeLbA=
fingerprint:o6Cdz0mTEXjWeKUYzHfyWVsH0uO6BxqYyyyPTHcF1qA=
`
	keys, err := seal.ParseKeyset(fromSecret) // os.Getenv("PERSISTD_SEAL_KEYS"), or a file
	if err != nil {
		log.Fatal(err)
	}
	codec, err := seal.New(keys)
	if err != nil {
		log.Fatal(err)
	}
	st := client.NewMemStore[Patient](client.WithCodec(codec))
	ctx := context.Background()
	if err := st.SaveStep(ctx, "run-001", 1, "ask", Patient{Name: "Ada"}); err != nil {
		log.Fatal(err)
	}
	patient, _, err := st.LoadLatest(ctx, "run-001")
	fmt.Println(patient.Name, err)

	// A worker with other keys, or none, reads nothing.
	other, err := seal.New(seal.Keyset{Keys: []seal.Key{{ID: "other", Secret: seal.NewSecret()}}, Fingerprint: seal.NewSecret()})
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = st.Open(client.WithCodec(other)).LoadLatest(ctx, "run-001")
	fmt.Println(errors.Is(err, seal.ErrUnknownKey))
	// Output:
	// Ada <nil>
	// true
}
