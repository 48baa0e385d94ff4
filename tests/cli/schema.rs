//! Checks JSON against the repository's schema: only the keywords that it uses.

use serde_json::Value;

/// Every place where `value` does not match `schema`, with the path to it.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let number = value.as_f64();
        let length = value.as_array().map(|items| items.len() as f64);
        let is_kept = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "properties" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').expect("a reference into the schema itself");
                check(root, root.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")), value, path, found);
                true
            }
            "type" => {
                let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                names.iter().any(|name| is_of_type(name.as_str().unwrap(), value))
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => number.is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => number.is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => length.is_none_or(|length| length >= rule.as_f64().unwrap()),
            "maxItems" => length.is_none_or(|length| length <= rule.as_f64().unwrap()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{path}[{index}]"), found);
                }
                true
            }
            "required" => rule.as_array().unwrap().iter().all(|key| {
                let has = value.get(key.as_str().unwrap()).is_some() || !value.is_object();
                if !has {
                    found.push(format!("{path}: no {key}"));
                }
                has
            }),
            "additionalProperties" => {
                assert_eq!(rule, false, "{path}");
                let known = schema["properties"].as_object().unwrap();
                value.as_object().is_none_or(|fields| fields.keys().all(|key| known.contains_key(key)))
            }
            unknown => panic!("the schema uses `{unknown}`, which this check does not know"),
        };
        if !is_kept {
            found.push(format!("{path}: {keyword} {rule} is not kept by {value}"));
        }
    }
    for (key, rule) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(field) = value.get(key) {
            check(root, rule, field, &format!("{path}.{key}"), found);
        }
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}
