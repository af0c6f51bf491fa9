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
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// least is how many tests are run at least of what options may name, by a feature that all of them ask for.
var least = map[features.FeatureName]int{features.SupportMesh: 22, features.SupportGateway: 87}

type options struct {
	Profiles []string               `json:"conformanceProfiles"`
	Features []features.FeatureName `json:"supportedFeatures"`
}

func main() {
	said, wrong, err := verdict(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		fmt.Fprintln(os.Stderr, "conformance: "+strings.Join(wrong, "\nconformance: "))
		os.Exit(1)
	}
	fmt.Println("conformance: " + said)
}

func verdict(optionsFile, reportFile, logFile string) (string, []string, error) {
	var options options
	var report conformance.ConformanceReport
	if err := read(optionsFile, &options); err != nil {
		return "", nil, err
	}
	if err := read(reportFile, &report); err != nil {
		return "", nil, err
	}
	log, err := os.ReadFile(logFile)
	if err != nil {
		return "", nil, err
	}
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	supported := map[string]bool{}
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
			for _, feature := range profile.Extended.SupportedFeatures {
				supported[feature] = true
			}
		}
		for part, status := range statuses {
			if status.Result != conformance.Success || len(status.SkippedTests) > 0 {
				say("%s, %s: %s, failed %v, skipped %v", name, part, status.Result, status.FailedTests, status.SkippedTests)
			}
		}
	}
	if slices.Contains(options.Features, features.SupportMesh) {
		for feature := range features.MeshExtendedFeatures {
			if !supported[string(feature.Name)] {
				say("%s is not supported", feature.Name)
			}
		}
	}
	passed := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^    --- PASS: TestConformance/(\w+) `).FindAllSubmatch(log, -1) {
		passed[string(match[1])] = true
	}
	count := 0
	for _, test := range asked(options.Features) {
		if !passed[test] {
			say("%s has not passed", test)
		}
		count++
	}
	for feature, least := range least {
		if slices.Contains(options.Features, feature) && count < least {
			say("%d tests of %s were asked for, there are %d", count, feature, least)
		}
	}
	return fmt.Sprintf("core of %s, %d extended features, %d tests passed, none skipped", strings.Join(options.Profiles, ", "),
		len(supported), count), wrong, nil
}

// asked are the tests that ask for nothing but these features.
func asked(supported []features.FeatureName) []string {
	var names []string
	for _, test := range tests.ConformanceTests {
		lacks := func(feature features.FeatureName) bool { return !slices.Contains(supported, feature) }
		if !slices.ContainsFunc(test.Features, lacks) {
			names = append(names, test.ShortName)
		}
	}
	return names
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
