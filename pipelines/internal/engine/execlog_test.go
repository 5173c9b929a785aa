package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// progressOfCLI is what the CLI writes for two commands, as Dagger v0.19.10 does
// with NO_COLOR set; %s is the mark.
const progressOfCLI = `Creating new Engine session... OK!
1   : dagger session --label dagger.io/sdk.name:go
2   : ┆ connect
2   : ┆ [0.0s] | cloud url=https://example.org

19  : withExec sh -c 'echo "begin $0"; ...' %[1]s make
19  : [0.2s] | another command's line
19  : [0.2s] | begin %[1]s
19  : [1.6s] |   CC      init/main.o
19  : [1.6s] | 
20  : ┆ resolving
20  : ┆ [1m2.0s] | [0.1s] | nested
19  : [2.6s] | warning: end kata-0 is not the mark
19  : [2.7s] | end %[1]s
19  : Container.withExec DONE [7.2s]
19  : [2.8s] | too late
`

func TestExecLog(t *testing.T) {
	log := &execLog{}
	var out strings.Builder
	args, flush := log.follow(&out, "make", "all")
	if want := []string{"make", "all"}; fmt.Sprint(args[4:]) != fmt.Sprint(want) || args[0] != "sh" {
		t.Fatalf("args = %q", args)
	}
	text := fmt.Sprintf(progressOfCLI, args[3])
	// The CLI's pipe cuts lines anywhere.
	for len(text) > 0 {
		n := min(7, len(text))
		if _, err := log.Write([]byte(text[:n])); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	flush(t.Context(), cachedTimeout)
	want := "  CC      init/main.o\n\n[0.1s] | nested\nwarning: end kata-0 is not the mark\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestExecLogWaitsForTheRest(t *testing.T) {
	log := &execLog{}
	var out strings.Builder
	args, flush := log.follow(&out, "make")
	fmt.Fprintf(log, "1  : [0.0s] | begin %s\n", args[3])
	go func() {
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintf(log, "1  : [0.0s] | late\n1  : [0.0s] | end %s\n", args[3])
	}()
	flush(t.Context(), cachedTimeout)
	if out.String() != "late\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestExecLogOfACachedCommand(t *testing.T) {
	log := &execLog{}
	var out strings.Builder
	one, _ := log.follow(&out, "make")
	two, flush := log.follow(&out, "make")
	if one[3] != two[3] {
		t.Error("equal commands have different marks, so that the engine would run both")
	}
	begin := time.Now()
	if flush(t.Context(), cachedTimeout) {
		t.Error("a log that never came counts as complete")
	}
	if took := time.Since(begin); took > 5*cachedTimeout {
		t.Errorf("waited %v for a log that never comes", took)
	}
}
