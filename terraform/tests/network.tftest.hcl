# No way in from the internet, and no way out to it.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "tg"
  partition   = "aws"
  cidr        = "10.64.0.0/20"
  zone_count  = 3
  bucket_arns = ["arn:aws:s3:::t", "arn:aws:s3:::s"]
}

run "subnets_are_private" {
  command = apply

  module {
    source = "./modules/network"
  }

  assert {
    condition = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == {
      eu-central-1a = "10.64.0.0/24"
      eu-central-1b = "10.64.1.0/24"
      eu-central-1c = "10.64.2.0/24"
    }
    error_message = "One subnet a zone, without overlaps."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : !subnet.map_public_ip_on_launch])
    error_message = "No task gets a public address."
  }

  assert {
    condition     = length(aws_route_table_association.private) == 3 && aws_route_table.private.vpc_id == aws_vpc.this.id
    error_message = "Each subnet uses the table without a way out."
  }
}

run "aws_is_reached_without_the_internet" {
  command = apply

  module {
    source = "./modules/network"
  }

  assert {
    condition = (
      aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway"
      && aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-central-1.s3"
      && aws_vpc_endpoint.s3.route_table_ids == toset([aws_route_table.private.id])
    )
    error_message = "S3 is reached by a gateway endpoint."
  }

  assert {
    condition = toset([for endpoint in aws_vpc_endpoint.interface : endpoint.service_name]) == toset([
      for service in ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sqs"] : "com.amazonaws.eu-central-1.${service}"
    ])
    error_message = "The services that tasks call have endpoints."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled])
    error_message = "Clients find the endpoints under the services' usual names."
  }
}

run "no_other_bucket_is_reached" {
  command = apply

  module {
    source = "./modules/network"
  }

  assert {
    condition = flatten([
      for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Resource
      ]) == [
      "arn:aws:s3:::t", "arn:aws:s3:::t/*", "arn:aws:s3:::s", "arn:aws:s3:::s/*",
      "arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/*",
    ]
    error_message = "The own buckets, and the one where ECR keeps layers."
  }
}
