package main

import (
	"fmt"
	"net"
	"strings"
)

// families are the kinds of addresses or networks in a setting, in order: 4, 6,
// or both.
func families(list []string) string {
	var out string
	for _, a := range list {
		family := "4"
		if strings.Contains(a, ":") {
			family = "6"
		}
		if !strings.Contains(out, family) {
			out += family
		}
	}
	return out
}

// checkFamilies refuses a server whose networks and addresses are not of the same
// families (https://docs.k3s.io/networking/basic-network-options, "Dual-stack").
func checkFamilies(config settings) error {
	pods, services := families(config.list("cluster-cidr")), families(config.list("service-cidr"))
	if pods == "" {
		pods = "4"
	}
	if services == "" {
		services = "4"
	}
	if pods != services {
		return fmt.Errorf("cluster-cidr is of IPv%s and service-cidr of IPv%s: they have to be of the same families", pods, services)
	}
	return reaches(pods, config.list("node-ip"))
}

// reaches refuses a node that has not got an address of each family, that of the
// first network before the other.
func reaches(pods string, ips []string) error {
	if has := families(ips); len(pods) > 1 && has != pods {
		return fmt.Errorf("networks are of IPv%s, and node-ip %q is of IPv%s: pods of the other family would be out of reach", pods, strings.Join(ips, ","), has)
	}
	return nil
}

// address is the one that others reach this host by.
func (s settings) address() string {
	ips := s.list("node-ip")
	for _, ip := range ips {
		if p := net.ParseIP(strings.TrimSpace(ip)); p != nil && p.To4() != nil {
			return ip
		}
	}
	return strings.Join(ips, ",")
}
