package linear

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// Call is an operation on a key: a save, or a load.
type Call struct {
	// Key is what is written or read: a run, a named checkpoint, or a V2 checkpoint of a run.
	Key  string
	Save bool
	// Register says of the key that it holds what was saved last, whatever its step, as a checkpoint does.
	Register bool
	// Held is what a save saves.
	Held
}

// Held is what a key holds. Of a run it is seen through LoadLatest: its highest step, and the value written to that last. The zero value
// is nothing.
type Held struct {
	Step  int
	Value int64
}

// String reads as in a picture of a history.
func (h Held) String() string {
	if h.Step == 0 {
		return "none"
	}
	return fmt.Sprintf("%d = %d", h.Step, h.Value)
}

// model is one key. A save of a lower step of a run changes nothing that LoadLatest could see.
var model = porcupine.Model{
	Init: func() any { return Held{} },
	Step: func(state, input, output any) (bool, any) {
		switch now, c := state.(Held), input.(Call); { //nolint:forcetypeassert // a history has nothing else.
		case !c.Save:
			return output.(Held) == now, now //nolint:forcetypeassert // as above.
		case c.Register || c.Step >= now.Step:
			return true, c.Held
		default:
			return true, now
		}
	},
	DescribeOperation: func(input, output any) string {
		if c := input.(Call); c.Save { //nolint:forcetypeassert // as above.
			return "save " + c.String()
		}
		return "load: " + output.(Held).String() //nolint:forcetypeassert // as above.
	},
	DescribeState: func(state any) string { return state.(Held).String() }, //nolint:forcetypeassert // as above.
}
