// Command persistd is the daemon, and the commands around it; `persistd --help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/persistd/persistd/internal/config"
)

// version is set by the build.
var version = "0.0.0-dev"

func main() {
	if err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "persistd:", err)
		os.Exit(exitCode(err))
	}
}

// cli is what can be said on the command line.
type cli struct {
	Serve   serveCmd         `cmd:"" help:"Apply the log to MySQL and answer reads, until SIGTERM."`
	Dev     devCmd           `cmd:"" help:"Run everything on this machine: NATS, MariaDB and persistd, with data under ./.persistd."`
	Demo    demoCmd          `cmd:"" help:"Run a fleet, kill the daemon and the database under it, and check that nothing is lost."`
	Bench   benchCmd         `cmd:"" help:"Measure persistd on this machine, beside what one would otherwise use."`
	Status  statusCmd        `cmd:"" help:"Show the replicas, the log, and how far each partition is."`
	Runs    runsCmd          `cmd:"" help:"List, show, copy and delete runs."`
	Dlq     dlqCmd           `cmd:"" help:"List, show, retry, mend and drop dead letters: events that could never be applied."`
	Doctor  doctorCmd        `cmd:"" help:"Check the running setup, and tell which promises it can keep."`
	Config  configCmd        `cmd:"" help:"Show or check the configuration."`
	Recover recoverCmd       `cmd:"" help:"Compare log and database, say what is wrong between them, and accept what cannot be mended."`
	Replay  replayCmd        `cmd:"" help:"Apply a part of the log again, to this database or to another, while the daemon runs."`
	Verify  verifyCmd        `cmd:"" help:"Compare log and database: what is missing, different, stale or extra."`
	Export  exportCmd        `cmd:"" help:"Write runs as lines of JSON, to a file or to standard output."`
	Import  importCmd        `cmd:"" help:"Save the runs of such a file, by way of the log, as any worker does."`
	Migrate migrateCmd       `cmd:"" help:"Bring the database's schema up to date, and exit."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// std is where a command prints.
type std struct{ out, err io.Writer }

// run does everything; main only exits. It returns when the command is done, or after a signal when it is one that runs on.
func run(ctx context.Context, args []string, env config.LookupEnv, stdout, stderr io.Writer) error {
	var grammar cli
	options := append(config.Options(env),
		kong.Name("persistd"), kong.Description("The persistence layer for workflow fleets: workers publish to a log, persistd commits it to MySQL in batches."),
		kong.Writers(stdout, stderr), kong.Vars{"version": version},
		kong.Bind(env), kong.Bind(std{stdout, stderr}), kong.BindTo(ctx, (*context.Context)(nil)),
	)
	parser, err := kong.New(&grammar, options...)
	if err != nil {
		return fmt.Errorf("build command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return &exitError{codeUsage, fmt.Errorf("%w (see persistd --help)", err)}
	}
	return command.Run()
}

// errAgain is the cause of a shutdown's end when a second signal asked for it.
var errAgain = errors.New("second signal: not waiting for the drain")

// signals returns a context that ends with the first SIGTERM or SIGINT, and one that ends with the second.
func signals(parent context.Context) (first, second context.Context, stop func()) {
	first, cancelFirst := context.WithCancel(parent)
	second, cancelSecond := context.WithCancelCause(context.WithoutCancel(parent))
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, os.Interrupt)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, cancel := range []func(){cancelFirst, func() { cancelSecond(errAgain) }} {
			select {
			case <-ch:
				cancel()
			case <-done:
				return
			}
		}
	}()
	return first, second, func() {
		signal.Stop(ch)
		close(done)
		<-ended
		cancelFirst()
		cancelSecond(nil)
	}
}
