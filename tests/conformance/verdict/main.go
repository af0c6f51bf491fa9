// Says whether a report is a whole one: a suite that was told of few features, or skipped tests, passes, too.
//
//	verdict OPTIONS.yaml REPORT.yaml SUITE.log
package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	conformance "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// meshTests is how many tests of a mesh the suite has.
const meshTests = 22

func main() {
	wrong, err := verdict(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		fmt.Fprintln(os.Stderr, "conformance: "+strings.Join(wrong, "\nconformance: "))
		os.Exit(1)
	}
	fmt.Printf("conformance: core of both profiles, %d extended features of a mesh, %d tests of a mesh passed, none skipped\n",
		features.MeshExtendedFeatures.Len(), meshTests)
}

func verdict(optionsFile, reportFile, logFile string) ([]string, error) {
	var options struct {
		Profiles []string `json:"conformanceProfiles"`
	}
	var report conformance.ConformanceReport
	if err := read(optionsFile, &options); err != nil {
		return nil, err
	}
	if err := read(reportFile, &report); err != nil {
		return nil, err
	}
	log, err := os.ReadFile(logFile)
	if err != nil {
		return nil, err
	}
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var supported []string
	for _, name := range options.Profiles {
		at := slices.IndexFunc(report.ProfileReports, func(p conformance.ProfileReport) bool { return p.Name == name })
		if at < 0 {
			say("%s is not in the report", name)
			continue
		}
		profile := report.ProfileReports[at]
		statuses := map[string]conformance.Status{"core": profile.Core}
		if profile.Extended != nil {
			statuses["extended"] = profile.Extended.Status
			supported = append(supported, profile.Extended.SupportedFeatures...)
		}
		for part, status := range statuses {
			if status.Result != conformance.Success || len(status.SkippedTests) > 0 {
				say("%s, %s: %s, failed %v, skipped %v", name, part, status.Result, status.FailedTests, status.SkippedTests)
			}
		}
	}
	for feature := range features.MeshExtendedFeatures {
		if !slices.Contains(supported, string(feature.Name)) {
			say("%s is not supported", feature.Name)
		}
	}
	passed := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^    --- PASS: TestConformance/(Mesh\w+) `).FindAllSubmatch(log, -1) {
		passed[string(match[1])] = true
	}
	if len(passed) != meshTests {
		say("%d of %d tests of a mesh passed", len(passed), meshTests)
	}
	return wrong, nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
