package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;

/**
 * What became of users that went in one request, in the order they were given.
 *
 * @param firstUser which of the users given its first one is, from 0.
 * @param users how many of them it is about; the blocks of its last one may go on in the next.
 * @param result what was read and skipped; null where the request failed. Paths count the users given, from 0.
 * @param error why the request failed, so that sending it again would not help; null where it did not.
 */
public record StreamResult(int firstUser, int users, ApplySegmentsResult result, AudienceException error) {}
