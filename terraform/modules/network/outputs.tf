output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "Its private subnets, one a zone."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "route_table_id" {
  description = "The subnets' route table: add the way to your own network here."
  value       = aws_route_table.private.id
}

output "endpoints_security_group_id" {
  description = "Group of the interface endpoints."
  value       = aws_security_group.endpoints.id
}

output "s3_prefix_list_id" {
  description = "Addresses of S3, for rules of outgoing traffic."
  value       = aws_vpc_endpoint.s3.prefix_list_id
}
