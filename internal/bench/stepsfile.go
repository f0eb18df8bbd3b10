package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/persistd/persistd/internal/demo"
)

// StepsFile is which file of real steps was measured with: enough to know it again, and to know what another would have to be like.
type StepsFile struct {
	// Name is without its folder.
	Name string
	// Steps is how many it has, Bytes how large a state of theirs is on average.
	Steps, Bytes int
	// SHA256 is the beginning of the sum of the file as it lies there, in hexadecimal digits.
	SHA256 string
}

// describeSteps looks at the file.
func describeSteps(path string) (*StepsFile, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read --steps: %w", err)
	}
	runs, err := demo.Recording(path)
	if err != nil {
		return nil, fmt.Errorf("read --steps: %w", err)
	}
	const digits = 12
	sum := sha256.Sum256(content)
	f := &StepsFile{Name: filepath.Base(path), SHA256: hex.EncodeToString(sum[:])[:digits]}
	f.Steps, f.Bytes = count(runs)
	return f, nil
}

// count is how many steps there are, and how many bytes a state has on average.
func count(runs [][]demo.Step) (steps, mean int) {
	bytes := 0
	for _, run := range runs {
		for _, s := range run {
			bytes, steps = bytes+len(s.State), steps+1
		}
	}
	return steps, bytes / steps
}

// String is for the document.
func (f *StepsFile) String() string {
	return fmt.Sprintf("real steps (`%s`: %s steps, %s B a state on average, SHA-256 %s…)", f.Name, humanize.Comma(int64(f.Steps)), humanize.Comma(int64(f.Bytes)), f.SHA256)
}
