package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sealrt/sealrt/runtime"
)

// printForecast prints what a plan would do: its steps with the reason of each,
// what that means for each host, and the sum.
func printForecast(w io.Writer, f *runtime.Forecast) error {
	for _, p := range f.Phases {
		how := "hosts at once"
		if p.Serial {
			how = "one host after another"
		}
		if _, err := fmt.Fprintf(w, "%s (%s)\n", p.Name, how); err != nil {
			return err
		}
		for _, s := range p.Steps {
			if _, err := fmt.Fprintf(w, "  %s  %s (%s)\n", s.Host, s.Does, s.Why); err != nil {
				return err
			}
		}
	}
	if err := printOutlooks(w, f.Hosts); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, forecastSum(f))
	return err
}

// printOutlooks prints a table of the hosts that have something to do.
func printOutlooks(w io.Writer, hosts []runtime.HostForecast) error {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tSTEPS\tTO SEND\tRESTARTS\tDISTURBS")
	for _, h := range hosts {
		if h.Steps == 0 {
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n", h.Host, h.Steps, sizeText(h.Bytes), listText(h.Restarts), disturbanceText(h.Disturbs))
	}
	return table.Flush()
}

// forecastSum is the last line of a forecast.
func forecastSum(f *runtime.Forecast) string {
	busy := 0
	for _, h := range f.Hosts {
		if h.Steps > 0 {
			busy++
		}
	}
	send := sizeText(f.FromClient) + " to send"
	if f.FromPeers > 0 {
		send += " from here, " + sizeText(f.FromPeers) + " from host to host"
	}
	return strings.Join([]string{counted(busy, "host"), counted(f.Steps, "step"), send, counted(f.Restarts, "restart")}, ", ")
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// listText joins names for a column, "-" for none.
func listText(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// disturbanceText says what users notice.
func disturbanceText(d runtime.Disturbance) string {
	var out []string
	if len(d.Services) > 0 {
		out = append(out, "stops "+strings.Join(d.Services, ", "))
	}
	if d.Pods {
		out = append(out, "its pods")
	}
	if d.API {
		out = append(out, "its API")
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, "; ")
}
