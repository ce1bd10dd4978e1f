"""What domains are told daily of mail that says it is from there: DMARC's aggregate reports."""
